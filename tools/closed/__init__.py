"""What ``flisr bench closed`` plays: a site whose agents move a simulated plant, and every way to command them."""
