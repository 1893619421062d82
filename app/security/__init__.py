"""What stands between the hub and whoever can reach its port."""
