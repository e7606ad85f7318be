"""The service: durable jobs, a fair queue, and the APIs that people already speak."""
