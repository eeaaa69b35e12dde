import sys, time, pytest
sys.path.insert(0,'/work/main')
from tests.runs.faulty import *
from tests.runs.conftest import *
CASES=[
 (20,dict(first=1,seconds=1)),(20,dict(first=1,seconds=1,skew_s=-9000)),(21,dict(first=1,milliseconds=700)),
 *[(22,dict(first=1,form=f)) for f in ("garbage","0","negative","3600")],
 (26,dict(provider="openai")),(27,dict(provider="openai",first=1)),
 (28,dict(first=1)),(29,dict(first=1,status=504)),(29,dict(first=1,status=503)),(30,dict(first=1)),(30,dict()),
 (31,dict(first=1)),(32,dict()),(34,dict(first=1)),(34,dict(first=1,routes=1)),(35,dict(first=1)),
 *[(45,dict(form=f)) for f in ("empty","invalid","truncated","list","string")],
 *[(46,dict(form=f)) for f in ("no_choices","empty_choices","null_message")],
 *[(47,dict(form=f)) for f in ("null","empty")],*[(48,dict(form=f)) for f in ("missing","null","zero","sum")],
 *[(49,dict(form=f)) for f in ("unknown","null")],(50,{}),
 *[(51,dict(form=f)) for f in ("text/plain","application/octet-stream","none")],
 *[(52,dict(form=f)) for f in ("gzip","deflate","mislabelled","corrupt","bomb")],
 *[(53,dict(form=f)) for f in ("escaped","surrogate","nul","invalid_utf8")],
 (54,dict(megabytes=10)),(63,{}),(64,{}),(65,{}),(66,dict(seconds=1)),(69,dict(first=1,form="fin")),(69,dict(first=1,form="rst")),(70,{}),
 *[(71,dict(status=s)) for s in (408, 409, 413, 422, 425, 434, 435, 499, 529)],(72,{}),
]
@pytest.mark.parametrize("i",range(len(CASES)))
@pytest.mark.parametrize("lane",["sync","task"])
def test_it(i,lane,make):
    b,o=CASES[i]; o=dict(o)
    o.pop("routes",None)
    if o.get("provider")=="openai" and lane=="task": pytest.skip()
    mill=faulty(make,b,lane=lane,**o)
    t=time.time(); r=mill.run(); t=time.time()-t
    try: mill.check_books(at_risk=-1); bk="ok"
    except AssertionError as e: bk=str(e)[:80]
    try: extra=(told(mill),calls(mill),flags(mill),[round(g,2) for g in gaps(mill)])
    except Exception as e: extra=repr(e)[:200]
    print("##",b,CASES[i][1],lane,"exit",r.exit_code,f"{t:.2f}s books {bk}",extra, str(r.fault)[:100])
