"""The commands of `relay-hub`, one module each. What a command needs is imported when it runs, not when it is named."""
