"""Maps of ions: counting statistics, drift, isotope ratios, depth profiles."""
