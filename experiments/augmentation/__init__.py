"""Does generated data help? Classifiers of real images, of a conditional GAN's samples, and of both."""
