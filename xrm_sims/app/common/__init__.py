"""What all rooms of the application use."""
