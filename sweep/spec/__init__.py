"""Reading a sweep file: its grammar, its checks against the registries, and what is wrong with it, explained."""
