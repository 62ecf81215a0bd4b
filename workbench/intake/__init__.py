"""Taking in: files, folders, other tools' libraries, the Hub and web addresses."""
