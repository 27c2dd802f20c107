"""The embedded PostgreSQL: `server` shares it, `cluster` creates it, `binaries` finds the programs in the wheel."""
