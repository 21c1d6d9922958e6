"""The results table: everything in it is measured when it is made."""
