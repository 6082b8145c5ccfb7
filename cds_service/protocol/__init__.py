"""What CDS Hooks defines: the request, the card, discovery and errors."""
