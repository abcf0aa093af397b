"""The gateway: one process for each cage, which answers its DNS questions and carries
its requests.
"""
