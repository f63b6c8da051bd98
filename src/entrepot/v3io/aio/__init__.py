"""The client for asyncio: `entrepot.v3io.aio.dataplane.Client`. It needs the package aiohttp."""
