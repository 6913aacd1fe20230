"""What the project promises about itself: its floors, names, documents, packages, examples, and where its tests are."""
