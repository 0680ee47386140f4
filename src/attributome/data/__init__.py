"""From files to `Sample`: images, manifests, splits, intensity, patches, and planted answers."""
