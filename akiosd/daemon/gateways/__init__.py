"""akiosd's side of gateways: made and restarted, their link, their records, and the
cage's money.
"""
