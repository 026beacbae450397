"""Running a training plan on an Apple chip with mlx-lm; free of torch."""
