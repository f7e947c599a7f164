"""What LangChain's metadata say, whoever passes them on: which graphs are agents, and whose step a step is."""

from __future__ import annotations

from agentops.domain.dialects.values import name, parse_json
from agentops.domain.spans import AttributeValue

#: Names of graph nodes that say what a node does, not who it is.
ANONYMOUS_NODES = frozenset({"model", "agent", "tools", "model_request", "__start__"})
#: What LangChain says of the graphs that its ``create_agent`` makes.
CREATED_AGENT = "langchain_create_agent"


def is_agent(metadata: AttributeValue, span: str) -> bool:
    """Whether the metadata, an object or its JSON, say that the span of that name is an agent that LangChain made."""
    if isinstance(metadata, str) and CREATED_AGENT in metadata:
        metadata = parse_json(metadata)
    return (
        isinstance(metadata, dict)
        and metadata.get("ls_integration") == CREATED_AGENT
        and metadata.get("lc_agent_name") == span
    )


def agent_of(fields: dict[str, AttributeValue]) -> str | None:
    """The agent that a step belongs to: the one that LangChain made, else the graph's node, if it names one."""
    agent = name(fields.get("created_agent")) or name(fields.get("graph_node"))
    return None if agent in ANONYMOUS_NODES else agent
