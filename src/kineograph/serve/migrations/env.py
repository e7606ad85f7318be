"""How alembic reaches the database: through the connection that `migrate` hands it."""

from alembic import context

from kineograph.serve.tables import metadata

if hasattr(context, "config"):  # alembic runs this file; whoever imports it changes nothing
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()
