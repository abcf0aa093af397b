"""What steps do, one kind a file, and the program that does one step inside a cage."""
