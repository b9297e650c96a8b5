"""What every package uses: errors, settings, arrays, files."""
