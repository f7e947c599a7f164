"""The operator's web application for the cost and reliability of LLM agents."""
