"""Field and control centre protocols to points and back, one file each."""
