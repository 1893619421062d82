"""The MCP door: tools by which agents talk and hand work to each other."""
