"""Moving bytes between daemons: messages and blobs, over one interface with one conformance suite."""
