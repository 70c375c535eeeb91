"""Sample data: three CSV files, how they were made, and how they are loaded."""
