"""What testers and newcomers run: command line, demo, campaign, captures."""
