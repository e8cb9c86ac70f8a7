//! The JSON spec of `create_publication` and the SQL that follows from it.
