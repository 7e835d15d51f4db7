"""One change of a program's source a file, named like the remedy that it carries out."""
