"""History: what the points said, in a database, for as long as the site wants it. The only user of SQLAlchemy."""
