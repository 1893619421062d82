"""Taking over what an older relay has kept: its archive of messages, and its dispatches."""
