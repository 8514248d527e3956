"""The demo planet's atlas: rough outlines and labelled places, as text.

Longitudes and latitudes in degrees. A record is a line; lines that start with blanks continue it. Shapes are far
coarser than any map (a degree for coasts, a quarter of a degree for states): noise draws the rest.

Outlines of land and of the states, and the names of countries, were thinned from Natural Earth (public domain). Names
and codes of ecoregions, and a few places in each, are from RESOLVE Ecoregions 2017 (CC-BY 4.0, Dinerstein et al. 2017,
https://doi.org/10.1093/biosci/bix014); where they meet is our own drawing.
"""

from __future__ import annotations

LAND = """\
-13,8 -18,15 -16,18 -17,22 -6,36 10,37 11,37 10,34 19,30 22,33 34,31 36,37 28,37 26,39 34,42 42,42 37,45
  39,47 35,46 36,45 34,44 32,45 33,46 31,47 28,43 29,41 23,40 24,38 22,36 20,42 13,46 13,44 18,40 17,40
  16,38 15,40 9,44 3,43 -2,37 -9,37 -9,43 -1,44 -1,46 -5,49 -2,49 -2,50 8,54 9,57 11,58 10,55 11,54 20,54
  22,57 24,57 23,59 29,60 21,61 22,63 25,65 24,66 18,63 17,61 19,60 16,56 13,55 10,59 6,59 5,62 19,70 28,71
  41,67 38,66 33,67 37,64 37,65 44,66 43,69 46,68 46,67 54,69 60,68 61,70 69,68 67,71 70,73 73,72 72,71
  74,68 71,66 72,66 75,68 73,71 75,73 76,71 82,72 81,74 104,78 114,76 109,74 127,74 131,71 140,71 139,72
  140,73 159,71 161,69 180,69 180,65 177,65 179,62 170,60 164,60 162,58 163,58 162,55 157,51 156,57 164,63
  160,61 157,61 154,60 155,59 142,59 135,55 140,54 141,52 138,46 128,40 129,35 126,34 125,40 121,39 122,41
  118,39 119,37 122,37 119,35 122,32 122,28 116,23 110,20 109,22 106,20 109,13 109,12 105,9 100,13 99,9
  103,6 104,1 101,3 98,8 97,17 94,16 91,23 87,21 80,16 80,10 78,8 73,21 70,21 66,25 57,26 56,27 52,28 50,30
  48,30 52,24 56,26 57,24 60,22 55,17 43,13 43,17 35,28 35,29 35,30 35,30 34,28 32,30 37,19 43,12 45,10
  51,12 51,11 48,4 39,-5 40,-16 35,-20 35,-24 33,-26 30,-31 26,-34 18,-34 15,-27 12,-17 14,-12 13,-9 9,-1
  10,3 9,5 6,4 3,6 -8,4
-77,4 -80,9 -81,7 -86,10 -87,13 -104,18 -115,32 -109,23 -112,25 -117,33 -121,35 -124,40 -125,48 -123,47
  -123,49 -126,50 -127,51 -134,58 -147,61 -152,59 -151,61 -158,56 -165,54 -157,59 -162,59 -165,61 -166,62
  -161,65 -168,66 -162,66 -167,68 -157,71 -137,69 -128,70 -109,67 -108,69 -98,69 -96,67 -94,69 -96,71 -94,72
  -87,67 -86,70 -81,69 -81,67 -86,67 -94,61 -95,59 -92,57 -82,55 -80,51 -79,53 -80,55 -77,57 -79,59 -77,60
  -78,62 -74,62 -70,61 -68,58 -65,60 -62,56 -56,53 -60,50 -66,50 -71,47 -65,49 -64,46 -63,46 -62,46 -61,47
  -60,46 -65,44 -66,44 -64,45 -67,45 -71,43 -70,42 -76,39 -75,38 -76,37 -76,39 -76,36 -81,31 -80,25 -84,30
  -86,30 -94,30 -97,27 -98,22 -96,19 -91,19 -90,21 -87,22 -89,16 -83,15 -84,11 -82,9 -80,10 -77,9 -72,12
  -72,9 -70,12 -68,11 -62,11 -62,10 -57,6 -51,4 -51,0 -49,-1 -40,-3 -35,-5 -35,-9 -39,-13 -41,-22 -48,-25
  -49,-29 -54,-34 -58,-34 -57,-37 -62,-39 -63,-41 -65,-41 -63,-43 -67,-46 -66,-48 -69,-51 -68,-52 -69,-52
  -71,-53 -71,-54 -75,-52 -76,-49 -74,-47 -76,-47 -73,-42 -74,-43 -70,-20 -76,-15 -81,-6 -80,-3 -81,-1
143,-11 153,-25 154,-28 149,-38 146,-39 141,-38 138,-34 137,-35 138,-33 136,-35 131,-31 118,-35 115,-34
  114,-22 121,-20 126,-14 130,-15 132,-11 136,-12 136,-15 140,-18
-21,83 -32,82 -12,81 -20,80 -18,80 -20,79 -18,77 -22,77 -19,74 -25,72 -22,71 -26,71 -26,70 -22,70 -40,65
  -43,60 -48,61 -52,64 -54,67 -51,70 -55,70 -54,71 -51,71 -56,72 -55,73 -59,76 -69,76 -71,77 -67,77 -73,78
  -60,82 -45,82 -47,83 -35,84
-81,72 -69,71 -67,69 -69,69 -62,67 -64,65 -68,66 -65,63 -69,64 -66,62 -69,62 -79,65 -74,65 -73,68 -79,70
  -89,70 -90,72 -86,74 -86,73 -82,74
-65,82 -77,79 -75,79 -81,76 -89,76 -88,78 -85,78 -88,78 -85,79 -87,80 -82,80 -92,82 -62,83 -68,82
119,1 116,-4 112,-3 110,-3 109,0 117,7 119,5 117,3
148,-6 147,-7 151,-11 145,-8 143,-9 138,-8 138,-5 133,-4 132,-3 134,-2 131,-1 134,-1 135,-3 138,-2
50,-16 47,-25 44,-25 44,-16 49,-12
-108,73 -101,70 -113,69 -117,70 -112,70 -119,72 -115,73 -108,72
-3,56 2,53 1,51 -6,50 -3,51 -5,52 -3,54 -6,55 -5,59 -2,58
133,34 131,34 132,33 130,31 129,33 133,35 136,36 141,41 140,35 136,33
106,-6 95,5 104,0 106,-3
-173,64 -179,66 -180,65 -180,69 -170,66
-125,74 -118,74 -116,73 -123,71 -126,72 -124,74
52,71 58,76 69,77 58,74 55,72 58,71
-22,64 -24,66 -15,66 -14,65 -19,63 -23,64
174,-42 169,-47 167,-46 173,-40
-93,79 -97,80 -92,81 -86,79 -91,78 -94,79
17,77 10,80 22,79
179,-38 175,-42 173,-35 176,-38
142,47 142,53 143,54 145,49 143,48 144,46
-97,77 -80,75 -90,75
140,42 142,46 145,44 143,42
-114,74 -112,75 -118,75 -115,76 -109,75 -110,77 -106,75
123,-1 122,-2 123,-5 121,-3 119,-5 120,1 125,2 120,-1
-69,-56 -75,-53 -71,-54 -69,-53 -65,-55
-80,64 -86,63 -87,64 -86,66
-81,23 -74,20 -78,20 -82,23 -85,22
-10,52 -10,54 -8,55 -6,55 -7,52
-57,50 -53,47 -59,48 -56,52
122,15 124,14 124,13 121,14 121,19 122,18
116,-8 108,-8 105,-7 111,-6
96,81 100,79 91,80
125,6 124,8 122,7 125,10 127,7
-97,72 -102,73 -102,73 -97,74
-69,19 -71,18 -74,18 -72,19 -73,20
145,76 139,75 137,75 141,76
148,-41 146,-44 145,-41
-103,76 -98,77 -98,76 -100,75
"""
"""Rings of the land without Antarctica."""

ECOREGIONS = """\
0|Rock and Ice|11|N/A|0|-50.0,74.2 -45.0,62.9 -42.7,70.7 -44.2,74.4 -35.5,68.8 -37.8,77.9 -29.6,74.4
5|Congolian coastal forests|1|Afrotropic|2|11.7,-2.0
10|Eastern Congolian swamp forests|1|Afrotropic|2|18.1,-1.1
18|Madagascar subhumid forests|1|Afrotropic|4|46.4,-20.8
24|Northeast Congolian lowland forests|1|Afrotropic|2|20.8,4.2 27.3,-3.6 28.6,2.7
35|Angolan scarp savanna and woodlands|7|Afrotropic|4|13.2,-7.7
39|Central Zambezian wet miombo woodlands|7|Afrotropic|3|26.6,-14.1 26.1,-10.2
42|Dry miombo woodlands|7|Afrotropic|3|38.5,-14.5 37.1,-10.2
43|East Sudanian savanna|7|Afrotropic|3|13.8,9.5 22.1,9.3 34.9,11.6
44|Guinean forest-savanna|7|Afrotropic|4|-13.4,11.8 5.9,9.8
45|Horn of Africa xeric bushlands|7|Afrotropic|4|44.4,10.0
47|Kalahari Acacia woodlands|7|Afrotropic|1|20.1,-21.4
50|Masai xeric grasslands and shrublands|7|Afrotropic|3|36.4,3.6
51|Northern Acacia-Commiphora bushlands and thickets|7|Afrotropic|3|36.4,-2.6
52|Northern Congolian Forest-Savanna|7|Afrotropic|3|12.3,6.4
53|Sahelian Acacia savanna|7|Afrotropic|3|-10.4,17.2 -5.4,16.5 3.4,17.5 25.9,10.3 27.1,16.0 35.6,17.8
55|Somali Acacia-Commiphora bushlands and thickets|7|Afrotropic|4|41.8,5.7
58|Southern Congolian forest-savanna|7|Afrotropic|4|20.8,-6.6
62|West Sudanian savanna|7|Afrotropic|4|-6.1,9.1
64|Zambezian Baikiaea woodlands|7|Afrotropic|2|21.5,-16.0
81|Highveld grasslands|10|Afrotropic|4|29.0,-28.2
89|Fynbos shrubland|12|Afrotropic|3|22.4,-33.3
97|Kalahari xeric savanna|13|Afrotropic|2|26.0,-22.0
104|Namibian savanna woodlands|13|Afrotropic|3|17.5,-27.9
106|Somali montane xeric woodlands|13|Afrotropic|4|50.5,10.7
139|Central Range Papuan montane rain forests|1|Australasia|2|139.0,-3.9
148|Northern New Guinea lowland rain and freshwater swamp forests|1|Australasia|2|146.5,-6.5
179|Tasmanian temperate rain forests|4|Australasia|1|146.1,-42.3
181|Arnhem Land tropical savanna|7|Australasia|2|133.4,-13.4
182|Brigalow tropical savanna|7|Australasia|2|147.6,-21.2
187|Mitchell Grass Downs|7|Australasia|2|139.3,-22.7
191|Eastern Australia mulga shrublands|8|Australasia|2|146.1,-28.7
192|Southeast Australia temperate savanna|8|Australasia|2|146.7,-32.7
198|Esperance mallee|12|Australasia|2|122.9,-32.5
203|Murray-Darling woodlands and mallee|12|Australasia|3|141.6,-33.7
208|Central Ranges xeric scrub|13|Australasia|2|131.5,-26.1
210|Great Sandy-Tanami desert|13|Australasia|2|123.3,-23.3 130.2,-22.8
211|Great Victoria desert|13|Australasia|2|124.3,-28.3
213|Pilbara shrublands|13|Australasia|2|117.6,-22.8
214|Simpson desert|13|Australasia|2|140.7,-29.6
216|Western Australian Mulga shrublands|13|Australasia|2|118.5,-26.8
219|Borneo lowland rain forests|1|Indomalayan|2|116.1,-3.5
226|Chin Hills-Arakan Yoma montane forests|1|Indomalayan|2|93.2,22.9
236|Jian Nan subtropical evergreen forests|1|Indomalayan|3|109.1,24.5
238|Lower Gangetic Plains moist deciduous forests|1|Indomalayan|4|85.0,25.9
239|Luang Prabang montane rain forests|1|Indomalayan|2|101.3,17.5
250|Myanmar coastal rain forests|1|Indomalayan|3|94.2,19.0
256|Northern Indochina subtropical forests|1|Indomalayan|3|98.9,25.4
278|Sumatran lowland rain forests|1|Indomalayan|2|105.8,-2.0
284|Tenasserim-South Thailand semi-evergreen rain forests|1|Indomalayan|2|98.6,9.9
295|Khathiar-Gir dry deciduous forests|2|Indomalayan|4|74.8,24.0
300|Southern Vietnam lowland dry forests|2|Indomalayan|3|107.9,11.0
314|Aravalli west thorn scrub forests|13|Indomalayan|4|68.4,29.1 74.7,30.5
315|Deccan thorn scrub forests|13|Indomalayan|4|75.8,17.3
318|Thar desert|13|Indomalayan|4|70.5,25.9
324|Sonoran-Sinaloan subtropical dry forest|2|Nearctic|4|-109.6,27.7
326|Sierra Madre Occidental pine-oak forests|3|Nearctic|3|-109.9,30.9 -107.1,25.1 -107.9,27.7 -108.2,28.8
  -106.2,25.4
327|Sierra Madre Oriental pine-oak forests|3|Nearctic|3|-101.7,28.7
328|Allegheny Highlands forests|4|Nearctic|2|-78.8,42.0 -76.9,42.3
329|Appalachian mixed mesophytic forests|4|Nearctic|2|-87.4,33.8 -83.1,36.9 -82.7,38.7 -80.9,38.8
  -80.9,40.7
330|Appalachian Piedmont forests|4|Nearctic|3|-85.1,32.8 -84.2,33.7 -82.3,34.0 -80.4,35.9 -79.7,37.2
  -77.9,37.0
331|Appalachian-Blue Ridge forests|4|Nearctic|2|-84.8,35.2 -83.1,35.7 -78.5,39.2 -77.8,40.8
332|East Central Texas forests|4|Nearctic|4|-97.0,30.7 -95.7,32.5
333|Eastern Canadian Forest-Boreal transition|4|Nearctic|2|-84.6,47.2 -82.5,46.2 -82.0,48.0 -80.6,46.3
  -80.4,47.6 -77.7,45.5 -77.9,47.1 -76.3,45.7 -75.6,47.4 -74.8,45.8 -74.7,47.3 -74.2,49.2 -72.2,47.8
334|Eastern Great Lakes lowland forests|4|Nearctic|4|-80.9,43.8 -79.0,44.5 -76.1,44.7 -72.4,45.8
336|Interior Plateau US Hardwood Forests|4|Nearctic|3|-86.7,36.0 -86.4,38.6 -85.1,36.9
337|Mississippi lowland forests|4|Nearctic|4|-90.4,33.5 -91.1,35.3
338|New England-Acadian forests|4|Nearctic|4|-74.3,44.0 -72.3,44.3 -70.0,45.9 -68.2,46.1 -68.1,47.3
339|Northeast US Coastal forests|4|Nearctic|4|-76.1,40.3 -73.5,41.1 -73.7,43.0 -71.4,42.0
340|Ozark Highlands mixed forests|4|Nearctic|3|-94.5,37.2 -92.5,37.4 -91.0,37.3
341|Ozark Mountain forests|4|Nearctic|3|-95.5,34.5 -95.0,35.8 -92.4,35.9
342|Southern Great Lakes forests|4|Nearctic|4|-86.0,40.9 -84.5,39.2 -85.1,41.2 -84.6,42.6 -82.5,41.3
  -82.9,43.0 -80.1,42.8
343|Upper Midwest US forest-savanna transition|4|Nearctic|3|-95.5,45.9 -91.3,42.7 -90.6,44.1
344|Western Great Lakes forests|4|Nearctic|2|-94.4,47.2 -94.6,49.6 -93.6,46.1 -92.4,47.2 -92.5,49.0
  -91.0,45.5 -88.8,46.1 -86.9,45.9 -84.4,43.9
345|Alberta-British Columbia foothills forests|5|Nearctic|2|-121.7,57.0
346|Arizona Mountains forests|5|Nearctic|4|-109.8,33.6 -107.4,33.7
348|Blue Mountains forests|5|Nearctic|3|-120.4,44.3 -118.9,43.9
349|British Columbia coastal conifer forests|5|Nearctic|2|-122.1,49.5
351|Central Pacific Northwest coastal forests|5|Nearctic|2|-124.0,43.7
352|Central-Southern Cascades Forests|5|Nearctic|2|-122.6,44.7 -122.5,46.4
353|Colorado Rockies forests|5|Nearctic|3|-105.9,40.4 -106.4,39.6 -105.6,38.9 -106.9,38.6 -105.4,38.0
  -107.0,37.6 -105.4,37.0 -106.4,36.5 -106.0,41.2
357|Klamath-Siskiyou forests|5|Nearctic|2|-123.1,41.3 -123.0,42.9
358|North Cascades conifer forests|5|Nearctic|2|-120.6,47.5 -121.0,49.2
359|Northern California coastal forests|5|Nearctic|4|-124.3,40.3
361|Northern Rockies conifer forests|5|Nearctic|2|-118.3,49.5 -116.3,48.0 -116.5,49.7 -114.3,47.5
  -114.3,48.8
363|Piney Woods|5|Nearctic|3|-95.2,30.2 -93.1,32.7 -93.7,33.7
364|Puget lowland forests|5|Nearctic|4|-124.0,48.8 -122.3,47.3
366|Sierra Nevada forests|5|Nearctic|2|-120.1,37.9
367|South Central Rockies forests|5|Nearctic|3|-115.7,44.7 -114.4,44.7 -113.7,46.4 -110.4,44.0 -110.2,45.4
  -103.7,44.3
368|Wasatch and Uinta montane forests|5|Nearctic|3|-111.6,38.8
370|Central Canadian Shield forests|6|Nearctic|2|-84.9,49.3 -83.0,49.7 -80.7,49.4 -77.8,49.5 -76.2,49.3
373|Eastern Canadian forests|6|Nearctic|2|-72.0,49.7 -70.3,48.8 -67.7,49.3 -65.9,51.2
374|Eastern Canadian Shield taiga|6|Nearctic|2|-66.8,55.2
375|Interior Alaska-Yukon lowland taiga|6|Nearctic|2|-155.9,61.0
376|Mid-Canada Boreal Plains forests|6|Nearctic|2|-109.6,57.2 -99.7,50.5
377|Midwest Canadian Shield forests|6|Nearctic|2|-91.2,49.8 -88.9,49.2 -86.5,49.0 -99.6,56.2
378|Muskwa-Slave Lake taiga|6|Nearctic|2|-122.9,61.2 -114.1,58.5
379|Northern Canadian Shield taiga|6|Nearctic|2|-107.4,63.5
381|Northwest Territories taiga|6|Nearctic|2|-132.6,67.8 -116.7,63.0
383|Watson Highlands taiga|6|Nearctic|2|-132.3,61.4
384|Western Gulf coastal grasslands|7|Nearctic|4|-97.3,25.6 -97.2,28.6 -92.7,30.6
386|Canadian Aspen forests and parklands|8|Nearctic|4|-100.7,49.1 -98.9,48.1 -100.0,49.0 -97.3,43.9
  -97.6,47.2
387|Central US forest-grasslands transition|8|Nearctic|4|-91.3,39.0 -90.6,40.9 -89.0,39.1 -89.0,40.4
  -88.3,42.1 -88.5,44.1 -86.6,37.7
388|Central Tallgrass prairie|8|Nearctic|4|-96.6,40.3 -97.5,42.5 -95.8,38.8 -95.2,40.4 -95.4,42.8
  -95.3,44.0 -93.6,39.1 -92.8,40.3 -93.0,43.0 -93.6,43.7
389|Central-Southern US mixed grasslands|8|Nearctic|4|-98.7,33.9 -99.9,35.5 -99.0,39.4 -98.7,40.8
  -97.7,33.8 -97.7,37.6
390|Cross-Timbers savanna-woodland|8|Nearctic|4|-98.9,32.8 -97.4,35.6
391|Edwards Plateau savanna|8|Nearctic|2|-101.3,32.0 -99.6,30.2
392|Flint Hills tallgrass prairie|8|Nearctic|4|-96.7,38.6
393|Mid-Atlantic US coastal savannas|8|Nearctic|4|-79.8,34.1
394|Montana Valley and Foothill grasslands|8|Nearctic|3|-112.6,45.4 -112.3,47.5
396|Northern Shortgrass prairie|8|Nearctic|3|-111.8,49.8 -109.7,47.5 -110.5,48.9 -107.8,45.8 -107.4,47.9
  -107.9,49.2 -105.2,44.1 -105.2,45.4 -104.9,48.1 -105.4,49.0 -103.9,43.0 -103.4,45.7 -103.2,48.1
  -103.4,48.8 -101.1,44.2 -101.4,46.2 -102.0,47.3 -99.7,43.0 -98.8,43.8 -99.7,46.1
397|Northern Tallgrass prairie|8|Nearctic|4|-96.9,46.3 -97.2,48.9
398|Palouse prairie|8|Nearctic|3|-120.3,46.4 -118.4,46.4 -117.7,47.6 -116.3,46.1
399|Southeast US conifer savannas|8|Nearctic|4|-90.5,30.5 -90.3,32.2 -88.2,32.3 -88.9,33.9 -89.1,36.0
  -88.9,37.0 -86.9,30.8 -86.3,32.6 -82.4,27.5 -82.6,28.4 -82.4,31.1 -83.1,32.3 -78.9,34.4 -78.0,35.8
  -76.6,38.7
401|Texas blackland prairies|8|Nearctic|4|-96.6,32.0
402|Western shortgrass prairie|8|Nearctic|2|-102.9,40.6 -103.3,39.6 -102.6,38.9 -103.6,38.3 -103.0,37.3
  -101.6,40.6 -101.3,39.4 -101.5,38.0 -102.0,36.6 -103.8,36.4 -104.3,40.9 -103.4,41.8 -105.1,34.0
  -105.0,35.3 -101.7,34.4 -101.3,35.4 -99.3,37.3
407|Arctic coastal tundra|11|Nearctic|2|-148.2,70.3
408|Arctic foothills tundra|11|Nearctic|2|-161.6,69.7
411|Brooks-British Range tundra|11|Nearctic|1|-157.7,67.7 -138.7,68.6
412|Canadian High Arctic tundra|11|Nearctic|2|-114.2,75.7 -91.0,75.6
413|Canadian Low Arctic tundra|11|Nearctic|2|-124.0,68.3 -105.8,67.8 -98.4,64.1 -94.0,61.6
414|Canadian Middle Arctic Tundra|11|Nearctic|2|-93.0,69.1 -84.7,70.2 -74.7,64.9
416|Interior Yukon-Alaska alpine tundra|11|Nearctic|2|-138.8,63.5
417|Kalaallit Nunaat Arctic steppe|11|Nearctic|2|-53.7,69.5 -20.6,76.0
420|Pacific Coastal Mountain icefields and tundra|11|Nearctic|1|-149.2,61.5 -130.1,55.5
422|California coastal sage and chaparral|12|Nearctic|4|-115.8,31.8
423|California interior chaparral and woodlands|12|Nearctic|3|-122.0,37.4 -122.4,38.8 -120.5,35.9
  -118.7,35.7
424|California montane chaparral and woodlands|12|Nearctic|3|-117.7,34.4 -116.7,33.6
426|Baja California desert|13|Nearctic|1|-114.0,27.0 -114.0,28.4
428|Chihuahuan desert|13|Nearctic|2|-110.0,32.4 -107.3,30.1 -108.3,32.8 -105.0,27.2 -105.5,29.0
  -105.5,30.9 -105.9,32.1 -103.7,26.7 -104.1,28.5 -103.9,31.0 -103.9,32.7 -104.2,33.5 -101.0,25.7
  -101.4,27.4 -101.4,30.1
429|Colorado Plateau shrublands|13|Nearctic|2|-108.6,38.9 -108.9,37.9 -108.4,37.1 -109.9,38.7 -110.2,37.6
  -109.6,36.6 -108.2,36.3 -110.2,39.5 -114.0,35.8 -112.2,35.7 -111.3,37.1 -107.7,35.4
430|Great Basin shrub steppe|13|Nearctic|2|-119.6,39.3 -119.9,40.4 -118.5,37.4 -118.1,38.7 -117.7,40.6
  -116.7,37.1 -116.0,39.5 -116.3,40.7 -113.7,37.4 -113.9,39.1 -113.8,40.5 -112.3,40.6
432|Meseta Central matorral|13|Nearctic|4|-103.3,25.2
433|Mojave desert|13|Nearctic|2|-116.5,35.4
434|Snake-Columbia shrub steppe|13|Nearctic|2|-120.0,42.9 -118.3,42.0 -116.2,42.7 -113.9,42.7 -112.5,43.0
  -112.1,43.8
435|Sonoran desert|13|Nearctic|2|-114.0,32.7 -114.7,34.1 -111.6,28.6 -112.5,30.3 -111.7,32.3 -111.8,33.9
  -110.4,29.3
436|Tamaulipan matorral|13|Nearctic|4|-99.6,25.0
437|Tamaulipan mezquital|13|Nearctic|3|-99.6,27.3 -99.9,28.7
438|Wyoming Basin shrub steppe|13|Nearctic|2|-108.3,40.5 -109.3,40.7 -107.7,41.3 -108.8,41.8 -110.0,41.6
  -108.9,42.1 -110.0,42.3 -107.4,42.7 -108.1,44.0 -106.0,42.3
439|Alto Paraná Atlantic forests|1|Neotropic|4|-52.8,-29.3
443|Bahia interior forests|1|Neotropic|3|-42.3,-19.9
457|Cordillera Oriental montane forests|1|Neotropic|2|-73.5,4.5
465|Guianan lowland moist forests|1|Neotropic|2|-59.7,6.4
470|Isthmian-Atlantic moist forests|1|Neotropic|2|-84.4,11.1
474|Juruá-Purus moist forests|1|Neotropic|2|-65.5,-7.5
476|Madeira-Tapajós moist forests|1|Neotropic|2|-62.3,-8.4
483|Napo moist forests|1|Neotropic|2|-73.5,-4.0
493|Peruvian Yungas|1|Neotropic|3|-77.5,-7.5
494|Petén-Veracruz moist forests|1|Neotropic|2|-91.9,17.1
497|Purus-Madeira moist forests|1|Neotropic|1|-59.9,-3.6
503|Solimões-Japurá moist forests|1|Neotropic|2|-66.7,-2.1
505|Southwest Amazon moist forests|1|Neotropic|2|-67.9,-13.7
507|Tapajós-Xingu moist forests|1|Neotropic|1|-53.1,-6.5
508|Tocantins/Pindare moist forests|1|Neotropic|2|-45.9,-3.6
511|Uatumã-Trombetas moist forests|1|Neotropic|2|-53.8,-1.3
522|Balsas dry forests|2|Neotropic|4|-99.3,17.7
525|Caatinga|2|Neotropic|4|-37.9,-10.3
529|Chiquitano dry forests|2|Neotropic|2|-60.6,-13.7
561|Magellanic subpolar forests|4|Neotropic|3|-67.9,-54.8
567|Cerrado|7|Neotropic|3|-53.2,-21.1 -53.8,-16.9 -46.0,-14.7 -45.3,-9.1
569|Dry Chaco|7|Neotropic|2|-65.7,-32.8 -59.2,-20.3
571|Humid Chaco|7|Neotropic|3|-57.8,-28.2
572|Llanos|7|Neotropic|2|-69.0,6.4
576|Humid Pampas|8|Neotropic|4|-58.4,-35.1
577|Low Monte|8|Neotropic|2|-69.9,-39.2
578|Patagonian steppe|8|Neotropic|2|-66.8,-48.2
581|Everglades flooded grasslands|9|Neotropic|2|-80.9,25.8 -81.0,27.0
587|Central Andean dry puna|10|Neotropic|2|-68.6,-21.9
595|Southern Andean steppe|10|Neotropic|2|-69.7,-28.7
642|Guizhou Plateau broadleaf and mixed forests|1|Palearctic|3|108.7,29.5
646|Balkan mixed forests|4|Palearctic|3|22.1,44.1 25.8,42.6
651|Celtic broadleaf forests|4|Palearctic|4|-3.4,55.8
654|Central European mixed forests|4|Palearctic|3|18.3,50.5
657|Changjiang Plain evergreen forests|4|Palearctic|4|114.4,30.7
661|East European forest steppe|4|Palearctic|4|36.0,49.8
664|European Atlantic mixed forests|4|Palearctic|3|3.8,51.1
667|Huang He Plain mixed forests|4|Palearctic|4|115.5,35.3
669|Manchurian mixed forests|4|Palearctic|3|131.3,49.5
673|Northeast China Plain deciduous forests|4|Palearctic|4|126.2,45.2
679|Sarmatic mixed forests|4|Palearctic|3|28.2,57.0 36.1,55.0 41.7,56.8 57.8,57.4
686|Western European broadleaf forests|4|Palearctic|3|13.1,50.7
687|Western Siberian hemiboreal forests|4|Palearctic|3|83.4,56.5
688|Zagros Mountains forest steppe|4|Palearctic|4|53.7,28.8
690|Altai montane forest and forest steppe|5|Palearctic|3|91.1,48.1
693|Da Hinggan-Dzhagdy Mountains conifer forests|5|Palearctic|3|122.2,51.3
710|East Siberian taiga|6|Palearctic|2|91.9,61.7 102.2,56.9 98.0,63.0 107.9,57.0 110.5,61.2 110.0,68.9
  113.8,58.0 116.1,63.4 116.7,70.4 121.9,56.1 122.8,61.3 132.6,56.9 131.1,63.8
711|Iceland boreal birch forests and alpine tundra|6|Palearctic|2|-19.0,63.4
714|Northeast Siberian taiga|6|Palearctic|2|141.4,63.5 149.0,64.2
715|Okhotsk-Manchurian taiga|6|Palearctic|2|140.7,51.7
717|Scandinavian and Russian taiga|6|Palearctic|3|19.9,63.8 27.5,64.4 27.3,69.0 35.0,63.8 45.8,65.0
  53.1,57.6 51.7,61.9
718|Trans-Baikal conifer forests|6|Palearctic|2|110.3,51.4
720|West Siberian taiga|6|Palearctic|2|61.8,62.2 65.5,62.8 73.9,57.1 75.8,62.9 84.4,61.9 89.6,57.4
721|Alai-Western Tian Shan steppe|8|Palearctic|4|68.5,43.4
726|Daurian forest steppe|8|Palearctic|2|114.4,49.9
727|Eastern Anatolian montane steppe|8|Palearctic|4|46.0,38.0
731|Kazakh forest steppe|8|Palearctic|4|68.6,56.3
732|Kazakh steppe|8|Palearctic|3|68.7,50.3 76.3,51.6
734|Mongolian-Manchurian grassland|8|Palearctic|3|115.8,44.4
735|Pontic steppe|8|Palearctic|4|28.4,48.3 43.6,44.1 44.2,51.4 51.3,51.1
737|Selenge-Orkhon forest steppe|8|Palearctic|2|100.5,48.3
740|Tian Shan foothill arid steppe|8|Palearctic|3|73.8,42.8
746|Suiphun-Khanka meadows and forest meadows|9|Palearctic|3|132.3,43.8
750|Central Tibetan Plateau alpine steppe|10|Palearctic|2|85.8,32.2
756|Kopet Dag woodlands and forest steppe|10|Palearctic|3|58.3,37.7
761|Ordos Plateau steppe|10|Palearctic|4|109.5,38.7
762|Pamir alpine desert and tundra|10|Palearctic|3|76.6,38.4
765|Southeast Tibet shrublands and meadows|10|Palearctic|3|97.6,31.8 101.1,37.9
767|Tian Shan montane steppe and meadows|10|Palearctic|2|84.1,44.0
768|Tibetan Plateau alpine shrublands and meadows|10|Palearctic|1|91.2,30.8
771|Cherskii-Kolyma mountain tundra|11|Palearctic|2|130.3,70.6 140.3,68.4
772|Chukchi Peninsula tundra|11|Palearctic|2|164.3,69.5 172.5,69.2
774|Kola Peninsula tundra|11|Palearctic|2|34.4,69.2
775|Northeast Siberian coastal tundra|11|Palearctic|2|146.0,71.5 155.9,70.1
778|Russian Arctic desert|11|Palearctic|2|59.4,74.7
779|Russian Bering tundra|11|Palearctic|2|156.8,61.8 166.3,62.6 173.5,62.0
780|Scandinavian Montane Birch forest and grasslands|11|Palearctic|2|9.6,61.1 21.2,68.7
781|Taimyr-Central Siberian tundra|11|Palearctic|2|84.0,71.2 89.9,69.6 102.2,71.2 100.5,74.9 109.2,76.0
  122.1,71.3
784|Yamal-Gydan tundra|11|Palearctic|2|69.9,70.0
785|Aegean and Western Turkey sclerophyllous and mixed forests|12|Palearctic|4|26.5,38.3
793|Iberian sclerophyllous and semi-deciduous forests|12|Palearctic|3|-5.6,42.4
795|Italian sclerophyllous and semi-deciduous forests|12|Palearctic|4|12.5,43.3
796|Mediterranean Acacia-Argania dry woodlands and succulent thickets|12|Palearctic|3|-9.8,28.6 -6.4,32.4
799|Northeast Spain and Southern France Mediterranean forests|12|Palearctic|3|3.2,43.6
808|Alashan Plateau semi-desert|13|Palearctic|2|98.6,43.5 109.8,43.9
809|Arabian desert|13|Palearctic|2|34.3,29.8 43.8,24.8
810|Arabian sand desert|13|Palearctic|2|52.0,19.3
822|East Sahara Desert|13|Palearctic|2|21.9,25.2 29.2,25.3
827|Junggar Basin semi-desert|13|Palearctic|3|86.5,48.4
828|Kazakh semi-desert|13|Palearctic|2|61.9,49.9
831|North Arabian desert|13|Palearctic|2|43.5,30.7
833|North Saharan Xeric Steppe and Woodland|13|Palearctic|2|27.7,30.9
834|Paropamisus xeric woodlands|13|Palearctic|4|65.8,35.8
835|Qaidam Basin semi-desert|13|Palearctic|2|92.6,37.1
837|Red Sea-Arabian Desert shrublands|13|Palearctic|2|45.3,16.6
838|Registan-North Pakistan sandy desert|13|Palearctic|3|60.8,30.8
842|South Sahara desert|13|Palearctic|2|-13.2,22.1 -5.3,22.0 1.8,22.0 10.2,18.4 18.9,18.6
843|Taklimakan desert|13|Palearctic|3|83.2,37.1 93.2,42.4
845|West Sahara desert|13|Palearctic|2|4.4,29.6 10.4,28.7
846|West Saharan montane xeric woodlands|13|Palearctic|2|11.0,23.5
"""
"""ECO_ID | ECO_NAME | BIOME_NUM | REALM | NNH | places."""

COUNTRIES = """\
Afghanistan|71,37
Albania|20,41
Algeria|-2,25 -1,31 2,35 4,21 6,26 6,30 4,35
Angola|17,-14 19,-9
Argentina|-70,-49 -70,-43 -71,-40 -66,-45 -67,-40 -68,-33 -65,-29 -65,-23 -62,-39 -58,-28
Armenia|45,40
Australia|115,-30 115,-25 119,-33 119,-29 118,-24 119,-20 125,-30 126,-23 127,-18 127,-15 130,-29 132,-25
  134,-17 133,-14 139,-34 138,-28 136,-25 137,-18 143,-38 145,-33 143,-29 145,-23 146,-18 143,-15 150,-33
  149,-29
Austria|15,48
Azerbaijan|48,40
Bahamas|-78,27
Bangladesh|90,24
Belarus|28,54
Belgium|5,51
Belize|-89,17
Benin|2,9
Bhutan|90,28
Bolivia|-64,-20 -66,-15 -62,-17
Bosnia and Herzegovina|18,44
Botswana|26,-24 24,-18
Brazil|-73,-8 -72,-5 -65,-9 -68,-3 -64,-0 -58,-15 -58,-8 -61,-3 -61,0 -56,-29 -53,-18 -53,-14 -55,-8
  -55,-5 -56,1 -50,-29 -48,-24 -49,-19 -47,-13 -46,-9 -49,-4 -41,-18 -42,-15 -40,-8 -43,-5 -35,-8
Brunei Darussalam|115,5
Bulgaria|22,42
Burkina Faso|-4,12 -1,11
Burundi|29,-4
Cambodia|103,12
Cameroon|14,6
Canada|-138,61 -138,67 -132,62 -132,65 -128,57 -127,62 -127,65 -119,50 -121,57 -121,61 -118,67 -121,70
  -122,76 -115,52 -112,56 -116,60 -115,65 -114,72 -109,51 -106,55 -106,62 -109,67 -108,72 -110,75 -100,50
  -103,56 -103,61 -103,67 -98,50 -96,55 -95,61 -98,66 -96,77 -90,50 -90,66 -91,76 -88,82 -86,50 -82,67
  -83,71 -84,75 -82,80 -79,47 -77,52 -77,72 -80,81 -72,47 -72,50 -72,55 -72,60 -70,66 -70,70 -72,81 -66,45
  -66,52 -66,55 -61,53 -60,55
Central African Republic|19,6 24,6
Chad|17,12 17,17 18,21
Chile|-72,-54 -70,-34 -70,-30
China|80,36 79,40 85,31 83,35 85,40 92,30 90,36 91,40 96,30 96,38 96,40 103,26 102,30 101,37 101,39 108,22
  107,25 108,31 109,37 108,42 113,25 113,31 115,37 115,41 118,31 119,37 122,47 126,46
Colombia|-77,7 -71,1 -73,7
Costa Rica|-84,10
Croatia|17,45
Cuba|-78,21
Cyprus|33,35
Czech Republic|16,50
Côte d'Ivoire|-4,7
Dem. Rep. Korea|127,41
Democratic Republic of the Congo|18,-3 23,-8 25,-5 23,1 30,1
Denmark|9,56
Djibouti|42,12
Dominican Republic|-70,19
Ecuador|-77,-3 -78,0
Egypt|29,27 31,30
El Salvador|-89,14
Equatorial Guinea|10,2
Eritrea|38,15
Estonia|26,58
Ethiopia|37,5 38,10 41,6
Falkland Islands|-59,-52
Fiji|178,-18
Finland|23,60 28,66
France|5,47
French Southern and Antarctic Lands|70,-49
Gabon|13,-0
Georgia|44,42
Germany|7,52 10,51
Ghana|-2,5
Greece|22,39
Greenland|-58,80 -55,74 -52,81 -49,65 -50,70 -48,77 -49,80 -41,70 -40,76 -41,81 -35,67 -35,70 -35,75
  -38,79 -29,72 -31,76 -29,79 -25,75 -24,82 -13,81
Guatemala|-90,16
Guinea|-10,10
Guinea-Bissau|-15,12
Guyana|-60,5
Haiti|-72,19
Honduras|-87,14
Hungary|19,47
Iceland|-22,65 -17,66
India|72,24 79,17 76,21 80,26 78,32 85,22 85,25 88,27
Indonesia|104,-3 103,-0 115,-8 113,1 140,-5
Iran|49,32 47,36 54,31 56,37 58,29
Iraq|44,36
Ireland|-8,54
Israel|35,31
Italy|12,47
Jamaica|-77,18
Japan|132,35 140,37
Jordan|36,31
Kazakhstan|55,46 54,50 61,45 61,51 67,41 64,45 68,53 71,47 71,52 77,46 77,50 82,46 83,49
Kenya|41,1
Kosovo|21,43
Kuwait|47,29
Kyrgyzstan|71,42
Lao PDR|102,20
Latvia|25,57
Lebanon|36,34
Lesotho|28,-30
Liberia|-10,6
Libya|13,26 13,33 20,25 18,30 24,22 24,27 23,31
Lithuania|25,56
Luxembourg|6,50
Macedonia|22,42
Madagascar|46,-22 49,-14
Malawi|34,-13
Malaysia|102,4
Mali|-11,13 -5,20 -1,16 -0,20
Mauritania|-14,17 -11,21 -7,16 -7,25
Mexico|-115,32 -107,27 -103,20 -101,27 -98,25
Moldova|30,46
Mongolia|91,46 96,46 102,45 107,45 115,47
Montenegro|19,43
Morocco|-8,30 -6,34
Mozambique|36,-15
Myanmar|97,20 96,25
Namibia|19,-25 18,-20
Nepal|83,28
Netherlands|5,52
New Caledonia|166,-21
New Zealand|168,-45 174,-39
Nicaragua|-86,13
Niger|5,16 12,17 11,22
Nigeria|6,7 5,10 13,10
Northern Cyprus|33,35
Norway|8,62 11,60 14,67 25,70
Oman|57,21
Pakistan|64,27 67,31 73,30
Palestine|35,32
Panama|-81,8
Papua New Guinea|145,-6
Paraguay|-59,-24 -56,-25
Peru|-78,-9 -73,-13
Philippines|125,8
Poland|19,52 23,52
Portugal|-8,40
Puerto Rico|-66,18
Qatar|51,25
Republic of Korea|127,37
Republic of the Congo|13,-5 17,2
Romania|23,46
Russian Federation|-178,66 -173,65 30,57 30,60 34,45 34,53 37,57 36,62 34,67 44,47 43,50 44,56 42,62 41,65
  49,51 50,55 49,61 48,65 56,56 56,60 53,67 54,72 59,55 61,60 58,67 62,70 65,55 68,61 65,66 73,57 72,59
  71,66 71,72 78,56 79,62 77,66 77,69 85,55 84,63 83,67 82,72 89,52 90,56 91,62 89,67 89,70 90,75 95,51
  94,57 96,62 95,66 95,72 102,51 101,56 104,61 102,66 101,71 101,76 109,51 107,56 108,61 107,68 110,69
  107,76 114,50 113,57 113,60 115,66 112,72 118,51 119,57 121,60 121,67 122,70 127,53 125,58 127,61 128,66
  127,72 132,45 132,52 131,55 130,60 132,67 137,52 137,56 138,62 139,67 138,71 146,62 143,67 146,70 149,60
  149,67 148,70 158,52 157,54 156,62 157,66 157,70 161,55 162,67 169,61 168,65 173,67
Rwanda|30,-2
Saudi Arabia|38,30 42,22 42,25 42,31 48,20 49,26 55,22
Senegal|-15,14
Serbia|21,44
Sierra Leone|-12,9
Slovakia|20,49
Slovenia|15,46
Solomon Islands|160,-10
Somalia|48,6
Somaliland|46,10
South Africa|19,-30 25,-33 23,-30 32,-29 29,-23
South Sudan|30,7
Spain|-7,42 -2,42
Sri Lanka|81,8
Sudan|23,12 26,15 32,12 30,18 32,21 36,16 34,22
Suriname|-55,5
Swaziland|31,-27
Sweden|17,62 17,67
Switzerland|8,47
Syria|39,35
Taiwan|121,24
Tajikistan|71,39
Tanzania|35,-9 35,-4
Thailand|101,16
The Gambia|-16,13
Timor-Leste|126,-9
Togo|1,8
Trinidad and Tobago|-61,11
Tunisia|9,34
Turkey|35,37 34,41
Turkmenistan|61,37 59,42 65,37
Uganda|34,3
Ukraine|29,50
United Arab Emirates|55,25
United Kingdom|-2,54
United States|-162,55 -161,62 -162,67 -156,63 -156,67 -149,63 -149,64 -145,65 -131,55 -121,36 -121,40
  -122,47 -113,36 -115,40 -112,46 -108,32 -108,37 -107,41 -109,47 -101,30 -103,37 -102,41 -102,45 -95,30
  -94,35 -95,40 -94,45 -91,31 -91,35 -91,42 -89,45 -83,31 -84,37 -86,40 -85,46 -78,36 -78,42
Uruguay|-58,-34 -55,-33
Uzbekistan|63,41
Vanuatu|167,-15
Venezuela|-68,7
Vietnam|108,13
Western Sahara|-10,26
Yemen|49,17
Zambia|25,-14 31,-14 29,-9
Zimbabwe|29,-21
"""
"""Name | places."""

STATE_NODES = """\
-87.42,30.48 -87.65,30.25 -88.02,30.72 -88.12,30.34 -88.4,30.39 -88.49,31.89 -88.09,34.89 -88.18,35
  -85.61,34.99 -85.2,32.94 -84.9,32.28 -85.14,31.82 -85.01,31 -87.59,31 -114.72,32.71 -114.47,32.99
  -114.72,33.42 -114.52,33.94 -114.13,34.28 -114.63,35 -114.72,36.09 -114.12,36.05 -114.04,37 -109.05,37
  -109.05,31.33 -111.01,31.33 -114.82,32.5 -90.3,35 -90.59,34.43 -91.08,34 -91.23,33.69 -91.17,33.01
  -94.04,33.01 -94.05,33.55 -94.48,33.65 -94.44,35.39 -94.62,36.5 -90.16,36.5 -90.07,36.29 -90.37,35.99
  -89.72,36 -117.13,32.53 -117.32,33.11 -118.09,33.73 -118.41,33.74 -118.54,34.04 -118.81,34 -119.62,34.42
  -120.47,34.45 -120.65,34.59 -120.64,35.14 -121.29,35.66 -121.98,36.57 -121.79,36.81 -122.4,37.19
  -122.52,37.78 -122.04,37.45 -122.5,38.11 -122.53,37.82 -122.91,38.03 -123.13,38.45 -123.73,38.92
  -123.85,39.83 -124.41,40.44 -124.11,41.04 -124.06,41.44 -124.21,42 -120,42 -120,39 -118.13,37.69
  -116.66,36.59 -109.05,41 -104.05,41 -102.05,41 -102.05,40 -102.05,37 -103,37 -73.64,41 -73.48,42.05
  -71.8,42.01 -71.84,41.32 -71.86,41.32 -72.89,41.24 -75.08,38.45 -75.69,38.46 -75.79,39.72 -75.42,39.81
  -75.61,39.62 -75.39,39.06 -75.08,38.8 -84.87,30.72 -82.24,30.56 -82.05,30.38 -81.91,30.82 -81.5,30.71
  -81.24,29.74 -80.61,28.61 -80.77,28.45 -80.08,26.97 -80.14,25.9 -80.51,25.2 -81.09,25.12 -81.32,25.78
  -81.72,25.91 -82.06,26.87 -82.31,26.85 -82.7,27.45 -82.4,27.8 -82.83,27.8 -82.63,28.87 -83.02,29.17
  -83.68,29.92 -84.02,30.11 -84.89,29.73 -85.3,29.8 -85.67,30.12 -86.36,30.38 -86.21,30.5 -87.33,30.32
  -80.89,32.03 -81.33,31.54 -81.27,31.27 -84.32,34.99 -83.11,35 -83.36,34.71 -82.86,34.46 -82.57,33.97
  -81.52,33.04 -81.08,32.09 -117.04,48.99 -116.05,48.99 -116.05,48 -115.72,47.7 -115.72,47.44 -115.34,47.27
  -114.57,46.64 -114.36,46.68 -114.39,45.9 -114.54,45.57 -113.96,45.69 -113.32,44.79 -112.99,44.46
  -111.5,44.58 -111.31,44.73 -111.05,44.5 -111.05,42 -114.04,42 -117.02,42 -117.02,43.79 -116.9,44.19
  -117.2,44.48 -116.83,44.92 -116.46,45.58 -116.88,46 -117.04,46.42 -91.44,40.38 -90.97,40.95 -90.99,41.43
  -90.35,41.61 -90.17,42.12 -90.64,42.51 -87.02,42.5 -87.21,41.76 -87.52,41.76 -87.53,39.36 -87.67,39.12
  -87.51,38.76 -88.03,38.1 -88.05,37.81 -88.12,37.47 -88.47,37.41 -88.48,37.07 -88.91,37.22 -89.12,36.98
  -89.52,37.27 -89.55,37.7 -90.38,38.3 -90.13,38.83 -90.59,38.88 -90.82,39.32 -91.36,39.71 -84.81,41.7
  -84.82,39.1 -84.82,38.79 -85.45,38.73 -85.43,38.54 -86.05,37.97 -86.28,38.14 -87.16,37.85 -87.89,37.93
  -84.81,41.76 -96.45,43.5 -91.25,43.5 -91.05,42.74 -91.73,40.62 -94.48,40.57 -95.77,40.6 -95.87,41.31
  -96.48,42.52 -96.64,42.75 -95.32,40 -94.88,39.82 -95.1,39.53 -94.62,39.12 -94.62,37 -84.44,39.1
  -84.2,38.81 -83.31,38.6 -82.89,38.74 -82.59,38.42 -82.63,38.15 -82.3,37.69 -81.97,37.54 -82.63,37.16
  -83.14,36.75 -83.67,36.6 -86.55,36.66 -87.83,36.64 -88.04,36.5 -89.42,36.5 -89.53,30.19 -89.71,30.18
  -90.22,30.39 -90.43,30.14 -90.04,30.04 -89.64,30.14 -89.33,29.88 -89.7,29.71 -89.54,29.41 -89.03,29.22
  -89.15,29.05 -90.18,29.58 -90.05,29.23 -90.43,29.35 -90.64,29.14 -91.33,29.29 -91.85,29.83 -92.28,29.53
  -93.2,29.77 -93.83,29.7 -93.8,29.99 -93.73,30.57 -93.51,31.04 -94.04,32 -91.09,32.45 -90.92,32.34
  -91.34,31.86 -91.66,31 -89.74,31 -89.85,30.68 -71.08,45.3 -70.91,45.25 -70.41,45.73 -70.01,46.7
  -69.27,47.44 -68.91,47.19 -68.2,47.34 -67.81,47.04 -67.8,45.7 -67.45,45.61 -67.48,45.28 -67.18,45.18
  -66.98,44.82 -67.2,44.64 -68.57,44.41 -68.99,44.42 -69.08,44.05 -69.36,44.06 -69.83,43.7 -69.95,43.85
  -70.74,43.08 -70.96,43.56 -77.07,38.9 -77.73,39.33 -78.13,39.7 -78.47,39.53 -78.78,39.64 -79.49,39.21
  -79.48,39.72 -75.38,38.02 -75.79,37.98 -75.82,38.23 -76.32,38.47 -76.01,38.57 -76.27,39.15 -75.93,39.6
  -76.33,39.41 -76.54,38.89 -76.32,38.14 -76.84,38.26 -77.02,38.85 -71.24,41.71 -71.39,42.02 -73.27,42.75
  -72.47,42.73 -71.31,42.7 -70.81,42.88 -70.6,42.63 -71.04,42.31 -70.72,42.21 -70.53,41.82 -69.94,41.67
  -70.69,41.53 -70.66,41.72 -71.11,41.54 -89.5,48 -88.35,48.3 -84.88,46.9 -84.59,46.48 -84.11,46.53
  -83.96,46.06 -83.61,46.12 -83.48,45.77 -82.53,45.29 -82.15,43.61 -82.51,42.65 -83.13,42.24 -83.13,41.94
  -83.41,41.74 -87.15,43.38 -87,44.17 -86.71,44.85 -86.25,45.24 -87.09,45.44 -87.44,45.08 -87.86,45.36
  -87.8,45.69 -88.19,45.96 -90.12,46.34 -90.41,46.58 -89.96,47.29 -97.23,48.99 -95.18,48.99 -95.16,49.37
  -94.83,49.29 -94.71,48.81 -93.76,48.52 -93.26,48.63 -92.65,48.54 -92.38,48.23 -92.04,48.33 -91.43,48.04
  -90.92,48.23 -90.65,47.31 -91.47,46.92 -92.29,46.66 -92.29,46.08 -92.7,45.91 -92.88,45.58 -92.67,45.45
  -92.82,44.76 -92.1,44.44 -91.3,43.92 -96.45,45.3 -96.86,45.6 -96.56,45.94 -96.79,46.64 -96.85,47.49
  -97.13,48.17 -88.86,30.41 -89.49,36.5 -89.57,36.56 -89.56,36.5 -104.05,48.99 -104.04,45.94 -104.06,45
  -111.05,45 -104.05,43 -98.49,43 -98.08,42.8 -97.3,42.89 -71.51,45.01 -72.56,42.88 -72.4,43.53 -72.04,44.28
  -71.68,44.45 -75.02,40.02 -74.73,40.16 -75.09,40.56 -75.14,40.98 -74.7,41.36 -73.91,40.99 -74.28,40.5
  -73.97,40.33 -74.09,39.78 -74.88,38.94 -75.53,39.48 -103,36.5 -103.04,36.48 -103.07,32 -106.66,32
  -106.51,31.77 -108.22,31.78 -108.21,31.33 -79.76,42.54 -79.02,42.8 -79.17,43.46 -78.69,43.63 -76.84,43.63
  -76.45,44.08 -75.27,44.86 -74.87,45.01 -73.35,45 -73.29,44.47 -73.42,43.59 -73.25,43.55 -75.34,42
  -79.76,42 -76.03,36.55 -75.79,36.08 -76.06,36.17 -76.73,35.95 -75.85,35.98 -75.72,35.83 -76.07,35.38
  -76.58,35.5 -76.56,35.12 -76.94,34.98 -76.34,34.9 -76.52,34.73 -77.14,34.68 -77.67,34.38 -78.03,33.89
  -78.57,33.88 -79.65,34.8 -80.78,34.83 -81.07,35.15 -82.29,35.21 -84.26,35.26 -83.5,35.57 -82.63,36.06
  -82.09,36.1 -81.66,36.61 -80.09,36.54 -82.42,41.68 -81.28,42.21 -80.52,42.32 -80.52,40.65 -80.88,39.63
  -81.48,39.4 -81.9,38.87 -82.06,39 -82.33,38.44 -95.22,33.96 -95.94,33.9 -96.33,33.7 -96.91,33.96
  -97.11,33.73 -97.68,33.98 -97.96,33.89 -98.09,34.14 -98.49,34.08 -99.19,34.23 -100,34.58 -100,36.5
  -123.18,46.18 -122.91,46.11 -122.74,45.66 -122.26,45.57 -121.79,45.72 -121.17,45.63 -120.23,45.74 -119,46
  -124.55,42.85 -124.15,43.88 -124.07,44.82 -123.9,45.56 -123.99,46.2 -123.23,46.14 -80.52,39.72 -71.5,41.37
  -71.87,41.3 -78.94,33.64 -79.18,33.18 -80.33,32.49 -94.06,29.68 -94.65,29.45 -94.7,29.75 -94.99,29.67
  -94.89,29.38 -95.6,28.76 -96.44,28.6 -96.4,28.43 -97.22,28.07 -97.21,27.82 -97.55,27.01 -97.31,26.12
  -97.43,25.85 -97.8,26.06 -98.22,26.08 -99.09,26.41 -99.46,27.06 -99.51,27.57 -100.28,28.3 -100.67,29.12
  -101.41,29.78 -102.32,29.89 -102.68,29.74 -103.15,28.99 -104.06,29.34 -104.53,29.67 -104.68,30.19
  -105.01,30.68 -105.36,30.85 -111.05,41 -81.82,37.29 -81.22,37.24 -80.29,37.51 -80.28,37.69 -79.64,38.59
  -79.3,38.42 -78.41,39.17 -78.32,39.45 -77.84,39.14 -77.35,38.41 -76.25,37.9 -76.24,37.45 -76.5,37.25
  -77.27,37.32 -76.72,37.15 -76.48,36.91 -75.99,36.91 -124.06,46.36 -123.9,46.75 -124.13,46.89 -124.42,47.74
  -124.73,48.17 -124.57,48.37 -124.05,48.18 -122.87,48.12 -122.47,47.76 -122.57,47.26 -122.33,47.39
  -122.41,47.78 -122.21,47.99 -122.65,48.4 -122.44,48.58 -122.75,48.99
"""
"""Corners of the conterminous United States, numbered from 0."""

STATES = """\
Alabama|0 1 2 3 4 5 6 7 8 9 10 11 12 13
Arizona|14 15 16 17 18 19 20 21 22 23 24 25 26
Arkansas|27 28 29 30 31 32 33 34 35 36 37 38 39 40
California|14 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 19
  18 17 16 15
Colorado|71 72 73 74 75 76 23
Connecticut|77 78 79 80 81 82
Delaware|83 84 85 86 87 88 89
Florida|0 13 12 90 91 92 93 94 95 96 97 98 99 100 101 102 103 104 105 106 107 108 109 110 111 112 113 114
  115 116 117 118
Georgia|119 120 121 94 93 92 91 90 12 11 10 9 8 122 123 124 125 126 127 128
Idaho|129 130 131 132 133 134 135 136 137 138 139 140 141 142 143 144 145 146 147 148 149 150 151 152 153
  154
Illinois|155 156 157 158 159 160 161 162 163 164 165 166 167 168 169 170 171 172 173 174 175 176 177 178
  179 180
Indiana|181 182 183 184 185 186 187 188 189 168 167 166 165 164 163 162 190
Iowa|191 192 193 160 159 158 157 156 155 194 195 196 197 198 199
Kansas|75 74 200 201 202 203 204
Kentucky|173 172 171 170 169 168 189 188 187 186 185 184 183 182 205 206 207 208 209 210 211 212 213 214
  215 216 217 218 219
Louisiana|220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 237 238 239 240 241 242 243
  32 31 244 245 246 247 248 249
Maine|250 251 252 253 254 255 256 257 258 259 260 261 262 263 264 265 266 267 268 269 270 271
Maryland|272 273 274 275 276 277 278 85 84 83 279 280 281 282 283 284 285 286 287 288 289 290
Massachusetts|291 292 79 78 293 294 295 296 297 298 299 300 301 302 303 304
Michigan|305 306 307 308 309 310 311 312 313 314 315 316 317 318 181 190 162 161 319 320 321 322 323 324
  325 326 327 328 329 330
Minnesota|331 332 333 334 335 336 337 338 339 340 341 342 305 330 343 344 345 346 347 348 349 350 351 352
  192 191 353 354 355 356 357 358
Mississippi|4 359 220 249 248 247 246 245 244 31 30 29 28 27 7 6 5
Missouri|196 195 194 155 180 179 178 177 176 175 174 173 219 360 361 362 40 39 38 37 36 204 203 202 201
  200
Montana|130 363 364 365 366 144 143 142 141 140 139 138 137 136 135 134 133 132 131
Nebraska|72 367 368 369 370 198 197 196 200 74 73
Nevada|146 22 21 20 19 70 69 68 67 147
New Hampshire|371 250 271 270 296 295 294 372 373 374 375
New Jersey|376 377 378 379 380 381 382 383 384 385 386
New Mexico|24 23 76 387 388 389 390 391 392 393
New York|394 395 396 397 398 399 400 401 402 403 404 405 293 78 77 381 380 406 407
North Carolina|408 409 410 411 412 413 414 415 416 417 418 419 420 421 422 423 424 425 426 427 123 122 428
  429 430 431 432 433
North Dakota|363 331 358 357 356 355 364
Ohio|317 434 435 436 437 438 439 440 441 442 209 208 207 206 205 182 181 318
Oklahoma|387 76 75 204 36 35 34 443 444 445 446 447 448 449 450 451 452 453 454
Oregon|455 456 457 458 459 460 461 462 153 152 151 150 149 148 147 67 66 463 464 465 466 467 468
Pennsylvania|436 394 407 406 380 379 378 377 376 86 85 278 469 437
Rhode Island|291 470 471 81 80 79 292
South Carolina|423 472 473 474 119 128 127 126 125 124 123 427 426 425 424
South Dakota|364 355 354 353 191 199 198 370 369 368 367 365
Tennessee|40 362 360 219 218 217 216 215 432 431 430 429 428 122 8 7 27
Texas|391 390 389 388 387 454 453 452 451 450 449 448 447 446 445 444 443 34 33 32 243 242 241 240 475 476
  477 478 479 480 481 482 483 484 485 486 487 488 489 490 491 492 493 494 495 496 497 498 499 500 501 502
  503
Utah|145 504 71 23 22 146
Vermont|402 371 375 374 373 372 294 293 405 404 403
Virginia|408 433 432 215 214 213 212 505 506 507 508 509 510 511 512 513 273 272 514 515 516 517 518 519
  520 521
Washington|129 154 153 462 461 460 459 458 457 456 455 522 523 524 525 526 527 528 529 530 531 532 533 534
  535 536 537
West Virginia|209 442 441 440 439 438 437 469 278 277 276 275 274 273 513 512 511 510 509 508 507 506 505
  212 211 210
Wisconsin|161 160 193 192 352 351 350 349 348 347 346 345 344 343 330 329 328 327 326 325 324 323 322 321
  320 319
Wyoming|145 144 366 365 367 72 71 504
"""
"""Name | rings of corner numbers, separated by slashes. Neighbours share corners, so that they tile."""
