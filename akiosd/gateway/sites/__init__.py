"""What is no model: allowed sites, and connections that are relayed unread."""
