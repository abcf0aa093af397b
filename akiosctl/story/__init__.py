"""What happened in a cage, told from its log: read once, as it comes, and kept in bounded room."""
