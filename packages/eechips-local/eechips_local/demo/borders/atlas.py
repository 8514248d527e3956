"""The demo planet's ecoregions as labelled places.

Longitudes and latitudes in degrees. A record is a line; lines that start with blanks continue it. Names and codes of
ecoregions, and a few places in each, are from RESOLVE Ecoregions 2017 (CC-BY 4.0, Dinerstein et al. 2017,
https://doi.org/10.1093/biosci/bix014); where they meet is our own drawing.
"""

from __future__ import annotations

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
