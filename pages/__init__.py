"""The page for people at `/`: its HTML, style and scripts in `static/`, and how they are sent."""
