def compose(recipe, media):
    raise NotImplementedError
