# try_out.sh VENV: use an installed eechips in an empty folder, with an empty home and no checkout.
set -euo pipefail
bin=$1/bin
unset PYTHONPATH
export HOME=$PWD/home
mkdir home
"$bin/eechips" --version
"$bin/eechips" sample --dataset NAIP --per-ecoregion 1 --size 64 --local -q
"$bin/eechips" verify outputs/sample-naip
"$bin/eechips" lock outputs/sample-naip -q
"$bin/eechips" rebuild chips.lock again -q
"$bin/eechips" init
"$bin/eechips" run chips.py -p count=3 -p size=32 --local -q
"$bin/eechips" init --examples
"$bin/eechips" run recipes/naip_chips.py -p per_ecoregion=1 --local -q
"$bin/python" -c 'import eechips; run = eechips.open_run("again"); assert run.is_complete; print(eechips.__file__)'
