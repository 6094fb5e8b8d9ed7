"""`python -m scripts.reference`: write the generated pages."""

from scripts.reference import outdated, write

if __name__ == "__main__":
    for name in outdated():
        print(f"writing docs/reference/{name}")
    write()
