"""What ``flisr bench loss`` plays: a field device, the gateway, its control centres and history, and their troubles."""
