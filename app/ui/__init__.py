"""The pages: HTML for people, kept current by one event stream per page."""
