def clips(settings, corpus):
    raise NotImplementedError
