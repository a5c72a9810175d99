"""What every measurement stands on: roles as processes, links, rows of results, the machine."""
