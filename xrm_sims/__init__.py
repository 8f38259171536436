from xrm_sims.moved import accept_old_paths

accept_old_paths()
