"""The database: the only place that speaks SQL. Each module holds the queries of one noun."""
