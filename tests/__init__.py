"""Our tests: a folder for each package of the library and a file for each of its files; rules, the project, support."""
