"""What became of the logs, and how what was built from them is distributed: the page that every build leaves."""
