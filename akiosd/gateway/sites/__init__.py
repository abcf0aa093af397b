"""Everything that is no provider: requests to allowed sites, and connections that are relayed
unread.
"""
