"""What all of akiosd stands on: configuration, log, directories, peers, priority, uids, keys, the
zygote.
"""
