"""The control tables of a run, one module each: SQLAlchemy Core tables and the statements on them."""
