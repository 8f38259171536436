"""Where a map, an image or a second volume lies in a tomogram."""
