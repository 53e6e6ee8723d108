"""Parts of networks that encoders share; nothing here knows files, losses or optimizers."""
