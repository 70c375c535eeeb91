"""What is scraped, recorded and alerted on."""
